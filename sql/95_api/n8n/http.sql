-- kind: code
-- Translates n8n's HTTP Request to httpRequest, followed by a transform that takes the body, which
-- is the item in n8n. Writes and locks nothing.

create or replace function private.n8n_http_request(
  p_version numeric,
  p_parameters jsonb,
  p_path text[],
  p_places jsonb
)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_parameters constant jsonb := case
    when p_version < 3 then private.n8n_http_renamed(p_parameters) else p_parameters
  end;
  v_list constant text := case when p_version < 3 then 'parameter' else 'parameters' end;
  v_query constant record := private.n8n_http_pairs(
    v_parameters, '{sendQuery,specifyQuery,jsonQuery,queryParameters}', v_list, p_path, p_places
  );
  v_headers constant record := private.n8n_http_pairs(
    v_parameters, '{sendHeaders,specifyHeaders,jsonHeaders,headerParameters}', v_list, p_path, p_places
  );
  v_body constant record := private.n8n_http_body(v_parameters, v_list, p_path, p_places);
  v_method constant text := upper(coalesce(v_parameters ->> 'method', 'GET') collate "C");
  v_timeout constant text := coalesce(v_parameters ->> 'timeout', v_parameters #>> '{options,timeout}', '300000');
  v_redirects constant text := coalesce(
    v_parameters ->> 'followRedirects', v_parameters #>> '{options,redirect,redirect,followRedirects}', 'true'
  );
  v_format constant text := v_parameters #>> '{options,response,response,responseFormat}';
  v_full constant boolean := coalesce(
    v_parameters ->> 'fullResponse', v_parameters #>> '{options,response,response,fullResponse}', 'false'
  ) = 'true';
  v_problems constant jsonb := v_query.problems || v_headers.problems || v_body.problems;
  v_wrong jsonb;
begin
  v_wrong := coalesce((
    select jsonb_agg(private.n8n_problem(p_path || f.path, f.message))
    from (
      values
        (coalesce(v_parameters ->> 'url', '') = '', '{url}'::text[], 'the address is missing'),
        (v_method not in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'), '{method}',
          'there is no such method'),
        (v_timeout !~ '^[1-9][0-9]{0,6}$' or v_timeout::int > 3600000, '{options,timeout}',
          'a request takes at most an hour'),
        (v_format not in ('autodetect', 'json', 'text'), '{options,response,response,responseFormat}',
          'the response is read as JSON or text')
    ) as f (is_so, path, message)
    where f.is_so
  ), '[]');
  if v_wrong <> '[]' or v_query.pairs is null or v_headers.pairs is null or v_body.body is null then
    return jsonb_build_object('type', 'httpRequest', 'ports', '["main"]'::jsonb, 'problems', v_problems || v_wrong);
  end if;
  return jsonb_build_object(
    'type', 'httpRequest', 'ports', '["main"]'::jsonb, 'problems', v_problems,
    'node', jsonb_build_object('timeoutMs', v_timeout::int),
    'properties', jsonb_strip_nulls(jsonb_build_object(
      'method', v_method,
      'url', private.n8n_value(v_parameters -> 'url', p_places),
      'followRedirects', case v_redirects when 'false' then false end,
      'responseType', case when v_format in ('json', 'text') then v_format end,
      'query', nullif(v_query.pairs, '{}'),
      'headers', nullif(
        case when v_body.body ? 'type' then jsonb_build_object('content-type', v_body.body -> 'type') else '{}' end
          || coalesce(v_headers.pairs, '{}'), '{}'
      )
    )) || v_body.body - 'type'
  ) || private.n8n_http_item(v_full, v_format);
end
$$;

-- Renames the parameters of versions 1 and 2 to the names of version 3.
create or replace function private.n8n_http_renamed(p_parameters jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'method', p_parameters -> 'requestMethod', 'url', p_parameters -> 'url',
    'sendQuery', true, 'sendHeaders', true,
    'sendBody', coalesce(p_parameters ->> 'requestMethod', 'GET') in ('POST', 'PUT', 'PATCH', 'DELETE')
      and p_parameters ?| '{bodyParametersUi,bodyParametersJson}',
    'specifyQuery', j.how, 'specifyHeaders', j.how, 'specifyBody', j.how,
    'jsonQuery', p_parameters -> 'queryParametersJson', 'jsonHeaders', p_parameters -> 'headerParametersJson',
    'jsonBody', p_parameters -> 'bodyParametersJson',
    'queryParameters', p_parameters -> 'queryParametersUi', 'headerParameters', p_parameters -> 'headerParametersUi',
    'bodyParameters', p_parameters -> 'bodyParametersUi',
    'contentType', p_parameters #> '{options,bodyContentType}',
    'timeout', p_parameters #> '{options,timeout}', 'followRedirects', p_parameters #> '{options,followRedirect}',
    'fullResponse', p_parameters #> '{options,fullResponse}'
  ))
  from (values (case p_parameters ->> 'jsonParameters' when 'true' then 'json' else 'keypair' end)) as j (how)
$$;

-- The query or the headers as pairs; null when they have no counterpart. p_keys: the keys that say
-- whether they are sent, how they are given, the JSON, the list. p_list: the key of the pairs in
-- that list.
create or replace function private.n8n_http_pairs(
  p_parameters jsonb,
  p_keys text[],
  p_list text,
  p_path text[],
  p_places jsonb,
  out pairs jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
begin
  pairs := '{}';
  problems := '[]';
  if coalesce(p_parameters ->> p_keys[1], 'false') <> 'true' then
    if p_parameters ?| p_keys[3 : 4] then
      problems := jsonb_build_array(private.n8n_problem(p_path || p_keys[1], 'what is not sent is left out'));
    end if;
  elsif coalesce(p_parameters ->> p_keys[2], 'keypair') = 'keypair' then
    select p.pairs, p.problems into pairs, problems
    from private.n8n_pairs(
      p_parameters #> array[p_keys[4], p_list], p_path || array[p_keys[4], p_list], p_places
    ) as p;
  elsif p_parameters ? p_keys[3] then
    pairs := private.n8n_json(p_parameters -> p_keys[3], p_places) -> 'value';
    if jsonb_typeof(pairs) is distinct from 'object' then
      pairs := null;
      problems := jsonb_build_array(private.n8n_problem(
        p_path || p_keys[3], 'it is no object of JSON with expressions that have a counterpart'
      ));
    end if;
  end if;
end
$$;

-- {"body", "bodyType", "type"}; null when the body has no counterpart.
create or replace function private.n8n_http_body(
  p_parameters jsonb,
  p_list text,
  p_path text[],
  p_places jsonb,
  out body jsonb,
  out problems jsonb
)
  language plpgsql
  immutable
as $$
declare
  v_kind constant text := coalesce(p_parameters ->> 'contentType', 'json');
  v_how constant text := coalesce(p_parameters ->> 'specifyBody', 'keypair');
  v_read record;
begin
  problems := '[]';
  body := '{}';
  if coalesce(p_parameters ->> 'sendBody', 'false') <> 'true' then
    if p_parameters ?| '{jsonBody,body,bodyParameters}' then
      problems := jsonb_build_array(private.n8n_problem(
        p_path || '{sendBody}'::text[], 'what is not sent is left out'
      ));
    end if;
  elsif v_kind in ('json', 'form-urlencoded') and v_how = 'keypair' then
    v_read := private.n8n_pairs(
      p_parameters #> array['bodyParameters', p_list], p_path || array['bodyParameters', p_list], p_places
    );
    problems := v_read.problems;
    body := jsonb_build_object('body', v_read.pairs)
      || case v_kind when 'json' then '{}' else '{"bodyType": "form"}'::jsonb end;
  elsif v_kind = 'json' and v_how = 'json' then
    body := private.n8n_json(coalesce(p_parameters -> 'jsonBody', 'null'), p_places);
    if body = '{}' then
      body := null;
      problems := jsonb_build_array(private.n8n_problem(
        p_path || '{jsonBody}'::text[], 'it is no JSON with expressions that have a counterpart'
      ));
    else
      body := jsonb_build_object('body', body -> 'value');
    end if;
  elsif v_kind in ('raw', 'form-urlencoded') then
    problems := private.n8n_value_problems(p_parameters -> 'body', p_path || '{body}'::text[], p_places);
    body := jsonb_build_object(
      'body', coalesce(private.n8n_value(p_parameters -> 'body', p_places), '""'), 'bodyType', 'raw',
      'type', case v_kind when 'raw' then coalesce(p_parameters ->> 'rawContentType', 'text/html')
        else 'application/x-www-form-urlencoded' end
    );
  else
    body := null;
    problems := jsonb_build_array(private.n8n_problem(
      p_path || '{contentType}'::text[], format('a body of %s cannot be sent', left(v_kind, 50))
    ));
  end if;
end
$$;

-- The template of the transform after the request: the body is the item in n8n.
create or replace function private.n8n_http_item(p_full boolean, p_format text)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when p_full then '{
      "item": {"template": {
        "body": "{{ $.prev.body }}", "headers": "{{ $.prev.headers }}", "statusCode": "{{ $.prev.status }}"
      }},
      "note": "the response has the keys body, headers and statusCode, but no statusMessage"
    }'
    when p_format = 'text' then '{"item": {"template": {"data": "{{ $.prev.body }}"}}}'
    else '{
      "item": {"path": "$.prev.body"},
      "note": "what follows gets the body as it is: n8n runs it once for each item of a list, and puts a text into data"
    }'
  end::jsonb
$$;
