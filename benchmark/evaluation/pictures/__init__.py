"""Attacked clips as pictures: contact sheet, film, gallery."""
