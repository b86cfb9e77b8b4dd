//! A Chroma server over HTTP: opens it and picks API v2 or v1 once.
