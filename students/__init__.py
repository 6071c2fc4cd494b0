"""Students: teacher labels in, a certified small classifier out."""
