/** The header that gives an answer's id, under which the log speaks of it. */
export const requestIdHeader = "x-request-id"
