"""`cache.clear`: deletes the keys of a listed Redis or Valkey that begin with a prefix."""
