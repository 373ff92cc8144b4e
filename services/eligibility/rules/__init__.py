"""The rules of classes and awards as pure functions of their arguments: no I/O, no clock.

`parameters` holds every number of a rule, dated; `parameter_document` reads them from a file's
shape; `classes` determines eligibility (K1-K4); `awards` computes an award (K11-K15).
"""
