"""The report of all six problems, typeset by Typst, and the zip of their code."""
