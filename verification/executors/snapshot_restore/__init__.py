"""`snapshot.restore` and `contract.rollback`: going back by hand, as contracts of their own."""
