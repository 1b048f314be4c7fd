"""Stages that look at one document at a time: a table of documents in, kept documents and removals out."""
