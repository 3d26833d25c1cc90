//! Linchpin: a server of distributed primitives behind the Redis wire protocol.
