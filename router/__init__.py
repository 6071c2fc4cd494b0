"""Router: the student by default, the teacher when unsure."""
