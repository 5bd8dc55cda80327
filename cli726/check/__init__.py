"""Checks of a student's own answers: right or wrong, and if wrong by one known slip, which and where."""

from cli726.check.answers import Parameters, Verdict
from cli726.check.questions import QUESTIONS, check, marked, question, read_answers

__all__ = ["QUESTIONS", "Parameters", "Verdict", "check", "marked", "question", "read_answers"]
