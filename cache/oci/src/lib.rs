//! OCI data types.
