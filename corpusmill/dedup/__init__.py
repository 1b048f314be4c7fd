"""Steps that must see the whole corpus, as pure map and reduce functions."""
