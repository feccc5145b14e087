"""De-identification: DICOM PS3.15 Annex E, policies, pseudonyms and cleaning."""
