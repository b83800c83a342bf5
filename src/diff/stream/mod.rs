//! The uncompressed stream of a blob, with its digest.
