"""One module per library, with functions `build(size) -> Program`; see `turns`."""
