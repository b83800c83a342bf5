//! A layer as a tar stream: what an upperdir changes of what is below it.
