"""Pure data and rules: no sockets, no files, no clock, no environment."""
