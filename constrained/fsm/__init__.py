"""Regular languages as automata over bytes: exact, small, and with masks remembered for every state."""
