"""What is computed: the six problems, their figures. Never prints, knows no Typer and no Rich."""
