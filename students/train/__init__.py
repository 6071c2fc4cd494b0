"""One trainer for each family of student: soft labels in, files of a bundle out."""
