-- An office's fact about the tree comes with this service's own copy of it.
-- depends: log/0005_office

CREATE OR REPLACE FUNCTION office_references() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['network'] $$;
