"""The utility's words: pure, standard library only, the ground floor that every other floor stands on."""
