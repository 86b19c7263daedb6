/** The `version` in table `schema_meta`, the same for every engine. */
export const schemaVersion = 2
