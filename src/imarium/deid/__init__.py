"""De-identification: what names a person in headers and pixels, and how it is removed."""
