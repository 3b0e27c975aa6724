// From a file a page may not fetch the pages that a search found, to quote from them: list those without a quotation,
// instead of an error for each. Runs in the head, before the search.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
