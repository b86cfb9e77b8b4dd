//! A local Chroma store: opens a folder read-only and finds its layout; refuses unknown ones.
