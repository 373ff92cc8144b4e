-- Whoever objects names a notice, and so its case.
-- depends: log/0005_office

CREATE OR REPLACE FUNCTION office_documents() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT ARRAY['notice'] $$;
