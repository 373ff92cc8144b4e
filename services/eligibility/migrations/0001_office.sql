-- An announced version of a parameter comes with the row that later decisions are given.
-- depends: log/0005_office

CREATE OR REPLACE FUNCTION office_references() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['parameter'] $$;
