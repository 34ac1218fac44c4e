"""Tools of a request: how families of models write calls, as constraints, and the calls read back."""
