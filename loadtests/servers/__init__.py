"""Servers that load tests are tried against: a null server, a freezing one, a fake teacher."""
