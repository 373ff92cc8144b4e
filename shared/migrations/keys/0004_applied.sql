-- Which steps this schema has, asked by each service at its start; the table itself is nobody's.
-- depends: 0003_looks_together

CREATE FUNCTION applied_migrations() RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    RETURN QUERY SELECT m.name FROM migrations m;
END $$;

-- As before, with the function above.
CREATE OR REPLACE FUNCTION grant_service(service text, role name) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
DECLARE
    schema_name text := current_schema();
BEGIN
    INSERT INTO service_roles AS r (role, service) VALUES (grant_service.role, grant_service.service)
    ON CONFLICT ON CONSTRAINT service_roles_pkey DO UPDATE SET service = excluded.service;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, role);
    EXECUTE format(
        'GRANT EXECUTE ON FUNCTION %1$I.master_key_fingerprint(text), '
        '%1$I.ensure_keys(text[], text[], text[], bytea[]), '
        '%1$I.open_keys(text[], text, text), '
        '%1$I.open_keys_of_looks(integer[], text[], text[], text[]), '
        '%1$I.destroy_keys(text, text), '
        '%1$I.list_erasures(), '
        '%1$I.replay_erasures(text[], text[], text[], timestamptz[]), '
        '%1$I.applied_migrations() TO %2$I',
        schema_name, role);
END $$;
