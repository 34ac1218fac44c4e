"""Context-free grammars: EBNF, GBNF and Lark, served exactly by the engine or by our automata."""
