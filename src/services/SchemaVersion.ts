/** The version of the tables, the same for every engine, as `schema_meta` holds it. */
export const schemaVersion = 2
