"""Any input at all: parsers alone and the whole server, within limits of time and memory; what broke once is kept."""
