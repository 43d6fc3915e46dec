"""HTTP servers, one small application a file."""
