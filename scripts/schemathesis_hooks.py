"""What Schemathesis can't derive from the OpenAPI document."""
import json

import schemathesis
from hypothesis import strategies as st

paths = st.from_regex(r"/[a-z]{1,20}", fullmatch=True)
boot_source = st.fixed_dictionaries({}, optional={"kernel_image_path": paths, "initrd_path": paths})
drives = st.lists(
    st.fixed_dictionaries(
        {"drive_id": st.from_regex(r"[A-Za-z0-9_]{1,64}", fullmatch=True), "path_on_host": paths, "is_root_device": st.just(False)},
        optional={"is_read_only": st.booleans()},
    ),
    unique_by=lambda drive: drive["drive_id"],
    max_size=3,
)
configs = st.fixed_dictionaries({}, optional={"boot-source": boot_source, "drives": drives})

entity_tags = st.lists(st.from_regex(r'(W/)?"[a-zA-Z0-9]{0,30}"', fullmatch=True), min_size=1, max_size=3).map(", ".join)

schemathesis.openapi.format("entity-tags", st.one_of(st.just("*"), entity_tags))
schemathesis.openapi.format("vm-config", configs.map(json.dumps))
