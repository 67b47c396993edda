"""True records, generalized and suppressed until classes of them look alike: no noise, and no epsilon.

hierarchies  what each value becomes, level by level
models       what an equivalence class must be like: k, l, t, delta; and what an attacker may do
lattice      the levels that meet the models at the least loss
recoding     top-coding and microaggregation
pseudonyms   keyed names in place of direct identifiers
recipe       what is to become of each column, as declared
classes      classes counted in a table as it leaves
route        a recipe and records in, coarser records out
"""
