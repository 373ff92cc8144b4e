-- Slips and classes are used by other offices than the one that holds them; they name nobody.
-- depends: log/0005_office

CREATE OR REPLACE FUNCTION office_documents() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['order', 'menu', 'class'] $$;
