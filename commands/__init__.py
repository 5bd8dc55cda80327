"""What people type: one Typer file per command. Parses, calls one function of cli726, renders."""
