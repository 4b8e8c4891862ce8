-- kind: code
-- What becomes of n8n's nodes. Each function gives the properties of ours, or null when it cannot.

-- A list of conditions (since version 2 of n8n's `if`), or one by type (before).
create or replace function private.n8n_if(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_conditions constant jsonb := p_parameters -> 'conditions';
  v_any constant boolean :=
    coalesce(v_conditions ->> 'combinator', '') = 'or' or coalesce(p_parameters ->> 'combineOperation', '') = 'any';
  v_condition record;
  v_text text;
  v_texts text[];
begin
  for v_condition in
    select
      c.item -> 'leftValue' as before, c.item #>> '{operator,operation}' as operation,
      c.item -> 'rightValue' as after, c.item #>> '{operator,type}' as type
    from jsonb_path_query(v_conditions, 'lax $.conditions[*]') as c (item)
    union all
    select
      c.item -> 'value1',
      coalesce(c.item ->> 'operation', case t.key when 'number' then 'smaller' else 'equal' end),
      c.item -> 'value2', t.key
    from jsonb_each(case jsonb_typeof(v_conditions) when 'object' then v_conditions end) as t
    cross join jsonb_path_query(t.value, 'lax $[*]') as c (item)
    where t.key in ('string', 'number', 'boolean')
  loop
    v_text := private.n8n_condition(
      private.n8n_operand(v_condition.before, v_condition.type, p_places, p_prev),
      v_condition.operation,
      coalesce(private.n8n_operand(v_condition.after, v_condition.type, p_places, p_prev), 'null')
    );
    if v_text is null then
      return null;
    end if;
    v_texts := v_texts || v_text;
  end loop;
  return jsonb_build_object('when', array_to_string(v_texts, case when v_any then ' || ' else ' && ' end));
end
$$;

create or replace function private.n8n_set(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select
    case
      when coalesce((p_parameters -> 'includeOtherFields')::boolean, p_parameters ? 'values') then '{}'
      else '{"pick": []}'::jsonb
    end
    || jsonb_build_object('assign', case
      when p_parameters ? 'values' then (
        select coalesce(
          jsonb_object_agg(v.item ->> 'name', private.n8n_value(v.item -> 'value', p_places, p_prev)), '{}'
        )
        from jsonb_path_query(p_parameters, 'lax $.values.*[*] ? (@.name.type() == "string")') as v (item)
      )
      else private.n8n_pairs(p_parameters #> '{assignments,assignments}', p_places, p_prev)
    end)
  where coalesce(p_parameters ->> 'mode', 'manual') = 'manual'
$$;

create or replace function private.n8n_http_request(p_parameters jsonb, p_places jsonb, p_prev text)
  returns jsonb
  language sql
  immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'method', upper(coalesce(p_parameters ->> 'method', p_parameters ->> 'requestMethod', 'GET')),
    'url', private.n8n_value(p_parameters -> 'url', p_places, p_prev),
    'query', case when p_parameters ? 'queryParameters' then
      private.n8n_pairs(p_parameters #> '{queryParameters,parameters}', p_places, p_prev)
    end,
    'headers', case when p_parameters ? 'headerParameters' then
      private.n8n_pairs(p_parameters #> '{headerParameters,parameters}', p_places, p_prev)
    end,
    'body', case
      when p_parameters ->> 'specifyBody' = 'json' then private.n8n_value(p_parameters -> 'jsonBody', p_places, p_prev)
      when p_parameters ? 'bodyParameters' then
        private.n8n_pairs(p_parameters #> '{bodyParameters,parameters}', p_places, p_prev)
    end,
    'bodyType', case
      when p_parameters ->> 'specifyBody' = 'json' then 'raw'
      when p_parameters ->> 'contentType' = 'form-urlencoded' then 'form'
    end
  ))
  where p_parameters ? 'url'
$$;

create or replace function private.n8n_merge(p_parameters jsonb)
  returns jsonb
  language sql
  immutable
as $$
  select case
    when coalesce(p_parameters ->> 'mode', 'append') = 'append' then '{"mode": "append"}'
    when p_parameters ->> 'mode' = 'chooseBranch' then '{"mode": "choose"}'
    when coalesce(p_parameters ->> 'combineBy', p_parameters ->> 'combinationMode')
      in ('combineByPosition', 'mergeByPosition')
      then '{"mode": "position"}'
    when p_parameters ->> 'fieldsToMatchString' ~ '^[^,]+$'
      then jsonb_build_object('mode', 'fields', 'by', p_parameters -> 'fieldsToMatchString')
  end::jsonb
$$;

-- The first interval of a schedule.
create or replace function private.n8n_schedule(p_parameters jsonb)
  returns jsonb
  language plpgsql
  immutable
as $$
declare
  v_interval constant jsonb := coalesce(p_parameters #> '{rule,interval,0}', '{}');
  v_minute constant text := coalesce(v_interval ->> 'triggerAtMinute', '0');
  v_hour constant text := coalesce(v_interval ->> 'triggerAtHour', '0');
  v_every text;
begin
  v_every := case coalesce(v_interval ->> 'field', 'days')
    when 'cronExpression' then v_interval ->> 'expression'
    when 'minutes' then format('*/%s * * * *', coalesce(v_interval ->> 'minutesInterval', '5'))
    when 'hours' then format('%s */%s * * *', v_minute, coalesce(v_interval ->> 'hoursInterval', '1'))
    when 'days' then format('%s %s */%s * *', v_minute, v_hour, coalesce(v_interval ->> 'daysInterval', '1'))
    when 'weeks' then format(
      '%s %s * * %s', v_minute, v_hour,
      coalesce(
        (
          select string_agg(d.day #>> '{}', ',')
          from jsonb_path_query(v_interval, 'lax $.triggerAtDay[*]') as d (day)
        ),
        '0'
      )
    )
  end;
  return case when v_every is not null then jsonb_build_object('cron', replace(v_every, '*/1 ', '* ')) end;
end
$$;

create or replace function private.n8n_node(
  p_type text,
  p_parameters jsonb,
  p_places jsonb,
  p_prev text,
  out type text,
  out properties jsonb
)
  language plpgsql
  immutable
as $$
begin
  type := case p_type
    when 'webhook' then 'webhookTrigger'
    when 'start' then 'manualTrigger'
    else p_type
  end;
  properties := case p_type
    when 'manualTrigger' then '{}'
    when 'start' then '{}'
    when 'noOp' then '{}'
    when 'webhook' then jsonb_build_object(
      'path', '/' || btrim(coalesce(p_parameters ->> 'path', ''), '/'),
      'method', upper(coalesce(p_parameters ->> 'httpMethod', 'GET')),
      'respond', case p_parameters ->> 'responseMode'
        when 'lastNode' then 'lastNode' when 'responseNode' then 'respondNode' else 'immediately'
      end
    )
    when 'scheduleTrigger' then private.n8n_schedule(p_parameters)
    when 'if' then private.n8n_if(p_parameters, p_places, p_prev)
    when 'set' then private.n8n_set(p_parameters, p_places, p_prev)
    when 'httpRequest' then private.n8n_http_request(p_parameters, p_places, p_prev)
    when 'merge' then private.n8n_merge(p_parameters)
    when 'respondToWebhook' then jsonb_strip_nulls(jsonb_build_object(
      'status', p_parameters #> '{options,responseCode}',
      'body', case when p_parameters ->> 'respondWith' in ('json', 'text') then
        private.n8n_value(p_parameters -> 'responseBody', p_places, p_prev)
      end
    ))
  end;
  if properties is null then
    type := null;
  end if;
end
$$;
