//! The entries of a tar stream, made beneath one directory.
