"""Asking the student: batches, the models in service, a student in another process."""
