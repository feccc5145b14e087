"""Pixels that name a person: burned-in text, found, reviewed and blanked, and faces in head CT and MR.

How it works and how well: docs/design/deidentification-pixels.md. Import from the modules; loading this
package loads none of them:

- `boxes`: `Box`, `TextBox`
- `finding`: `find_text`, by `views`, `strokes`, `candidates`, `likeness` and `tesseract`
- `hints`: what DICOM itself says of text
- `blanking`: `blanked`, `blanked_source`, `blank_value`
- `review`, `preview`: `Finding` with its decisions, and pictures for the reviewer
- `faces`: `deface`, by `heads` and `projections`
"""
