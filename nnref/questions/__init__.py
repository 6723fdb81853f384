"""Mechanisms for the open questions of tutorials 6 to 9; experiments/questions/ runs them."""
