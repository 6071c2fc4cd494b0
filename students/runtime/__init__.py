"""All that serving needs of a student: read a bundle, predict."""
