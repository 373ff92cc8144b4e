-- Which steps this schema has, asked by each service at its start; the table itself is nobody's.
-- depends: 0003_looks_together

CREATE FUNCTION applied_migrations() RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY SELECT m.name FROM migrations m;
END $$;
