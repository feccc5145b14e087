"""De-identification: what names a person in headers and pixels, and how it is removed.

From the outside inwards: `gate` is what ingest calls; `pipeline` does many files; `dicom` and `files` do one;
`dataset`, with `decisions`, `private` and `content`, goes through a DICOM data set; `identity` and `text`
find and cut what identifies; `keys` makes stand-ins and `linking` remembers them; `policy` and `policy_file`
are what people write; `standard` is the tables of PS3.15 Annex E. Nothing here but `gate` knows the catalog.
"""
