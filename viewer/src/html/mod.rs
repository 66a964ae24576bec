//! One self-contained page: a document that needs no program to be looked at.
