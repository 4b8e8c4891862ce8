-- kind: code
-- Lists every known parameter of n8n, by node type and version. Reads, writes and locks nothing.

-- What becomes of a parameter:
--   value    translated; may be an expression
--   own      translated by the function of its node type, which reports what it cannot translate
--   literal  decides how the node is translated; a problem as an expression, and outside of `allowed`
--   none     has no effect on a run
--   only     has no effect while it has one of `allowed`; any other value is a problem, which `message` explains
--   must     like only, but with any other value the node has no counterpart at all
-- In a path `/` separates keys, and `*` is any place of a list. A parameter without a row is a problem (read.sql).
-- '@node' lists what every node has beside its parameters, '@document' what a document has beside its nodes.

create or replace function private.n8n_parameters_of_document()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('@document', 0, 999, 'none', array[
      'name', 'active', 'id', 'versionId', 'activeVersionId', 'versionCounter', 'triggerCount', 'meta', 'tags',
      'createdAt', 'updatedAt', 'isArchived', 'nodes', 'connections', 'settings/executionOrder',
      'settings/saveManualExecutions', 'settings/saveExecutionProgress', 'settings/timeSavedPerExecution'
    ], null::jsonb, null::text),
    ('@document', 0, 999, 'own', array['settings/timezone', 'settings/executionTimeout'], null, null),
    ('@document', 0, 999, 'only', array['settings/errorWorkflow'], '[""]',
      'name the workflow that handles errors in settings.errorWorkflow'),
    ('@document', 0, 999, 'only', array['settings/callerPolicy'], '["workflowsFromSameOwner"]',
      'every workflow of the organization may call this one'),
    ('@document', 0, 999, 'only', array[
      'settings/saveDataErrorExecution', 'settings/saveDataSuccessExecution'
    ], '["all", "DEFAULT"]', 'every run is recorded here'),

    ('@node', 0, 999, 'none', array[
      'id', 'name', 'type', 'typeVersion', 'webhookId', 'notesInFlow', 'executeOnce', 'parameters', 'color'
    ], null, null),
    ('@node', 0, 999, 'own', array[
      'position', 'notes', 'disabled', 'onError', 'continueOnFail', 'retryOnFail', 'maxTries', 'waitBetweenTries'
    ], null, null),
    ('@node', 0, 999, 'only', array['alwaysOutputData'], '[false]',
      'a node always has one output here, and what follows a branch that is not taken does not run'),
    ('@node', 0, 999, 'only', array['credentials'], '[]', 'credentials are not taken over')
$$;

create or replace function private.n8n_parameters_of_triggers()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('webhook', 0, 999, 'own', array['path', 'httpMethod', 'responseMode'], null::jsonb, null::text),
    ('webhook', 0, 999, 'must', array['authentication'], '["none"]', 'the webhook here asks for no authentication'),
    ('webhook', 0, 999, 'must', array['multipleMethods'], '[false]', 'n8n has an output for each method, here is one'),
    ('webhook', 0, 999, 'only', array['responseData'], '["firstEntryJson"]',
      'the answer is the output of the run as JSON'),
    ('webhook', 0, 1.1, 'only', array['responseCode'], '[200]', 'the status of this answer cannot be chosen'),
    ('respondToWebhook', 0, 999, 'literal', array['respondWith'], null, null),
    ('respondToWebhook', 0, 999, 'own', array[
      'responseBody', 'redirectURL', 'options/responseHeaders/entries/*/name', 'options/responseCode'
    ], null, null),
    ('respondToWebhook', 0, 999, 'value', array['options/responseHeaders/entries/*/value'], null, null),
    ('scheduleTrigger', 0, 999, 'own', array['rule'], null, null),
    ('cron', 0, 999, 'own', array['triggerTimes'], null, null),
    ('executeWorkflowTrigger', 0, 999, 'only', array['inputSource'], '["passthrough"]',
      'the input is passed on as it is; a schema of it can be written as properties.input')
$$;

create or replace function private.n8n_parameters_of_branches()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('if', 1, 1.99, 'own', array['conditions', 'combineOperation'], null::jsonb, null::text),
    ('if', 2, 999, 'own', array[
      'conditions', 'options/ignoreCase', 'options/looseTypeValidation', 'looseTypeValidation'
    ], null, null),
    ('filter', 1, 1.99, 'own', array['conditions', 'combineConditions'], null, null),
    ('filter', 2, 999, 'own', array[
      'conditions', 'options/ignoreCase', 'options/looseTypeValidation', 'looseTypeValidation'
    ], null, null),
    ('switch', 3, 999, 'must', array['mode'], '["rules"]', 'the output is chosen by rules here'),
    ('switch', 3, 999, 'own', array[
      'rules', 'options/fallbackOutput', 'options/ignoreCase', 'options/looseTypeValidation', 'looseTypeValidation'
    ], null, null),
    ('switch', 3, 999, 'none', array['options/renameFallbackOutput'], null, null),
    ('switch', 3, 999, 'must', array['options/allMatchingOutputs'], '[false]',
      'only the first rule that holds counts here'),
    ('switch', 1, 2.99, 'must', array['mode'], '["rules"]', 'the output is chosen by rules here'),
    ('switch', 1, 2.99, 'own', array['dataType', 'value1', 'rules', 'fallbackOutput'], null, null),
    ('merge', 1, 999, 'literal', array[
      'mode', 'combinationMode', 'combineBy', 'joinMode', 'fieldsToMatchString', 'mergeByFields/values/*/field1',
      'mergeByFields/values/*/field2', 'options/includeUnpaired', 'propertyName1', 'propertyName2', 'join'
    ], null, null),
    ('merge', 1, 999, 'only', array['outputDataFrom'], '["both"]', 'the output has the data of both inputs'),
    ('merge', 1, 999, 'only', array['numberInputs'], '[2]', 'a merge has two inputs here'),
    ('merge', 1, 999, 'none', array['advanced'], null, null)
$$;

create or replace function private.n8n_parameters_of_set()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('set', 1, 2.99, 'value', array[
      'values/string/*/value', 'values/number/*/value', 'values/boolean/*/value'
    ], null::jsonb, null::text),
    ('set', 1, 2.99, 'literal', array[
      'values/string/*/name', 'values/number/*/name', 'values/boolean/*/name', 'keepOnlySet', 'options/dotNotation'
    ], null, null),
    ('set', 3, 3.29, 'value', array[
      'fields/values/*/stringValue', 'fields/values/*/numberValue', 'fields/values/*/booleanValue',
      'fields/values/*/arrayValue', 'fields/values/*/objectValue'
    ], null, null),
    ('set', 3, 3.29, 'literal', array['fields/values/*/name', 'fields/values/*/type'], null, null),
    ('set', 3.3, 999, 'value', array['assignments/assignments/*/value'], null, null),
    ('set', 3.3, 999, 'literal', array[
      'assignments/assignments/*/name', 'assignments/assignments/*/type', 'includeOtherFields'
    ], null, null),
    ('set', 3.3, 999, 'none', array['assignments/assignments/*/id'], null, null),
    ('set', 3, 999, 'literal', array[
      'mode', 'include', 'includeFields', 'excludeFields', 'options/dotNotation'
    ], null, null),
    ('set', 3, 999, 'own', array['jsonOutput'], null, null),
    ('set', 3, 999, 'only', array['duplicateItem'], '[false]', 'there is one item here'),
    ('set', 3, 999, 'only', array['options/ignoreConversionErrors'], '[false]',
      'a value that cannot be converted fails the node')
$$;

create or replace function private.n8n_parameters_of_http()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('httpRequest', 1, 2.99, 'literal', array[
      'requestMethod', 'jsonParameters', 'options/bodyContentType', 'options/timeout', 'options/followRedirect',
      'options/fullResponse', 'bodyParametersUi/parameter/*/name', 'headerParametersUi/parameter/*/name',
      'queryParametersUi/parameter/*/name'
    ], null::jsonb, null::text),
    ('httpRequest', 1, 2.99, 'value', array[
      'bodyParametersUi/parameter/*/value', 'headerParametersUi/parameter/*/value',
      'queryParametersUi/parameter/*/value'
    ], null, null),
    ('httpRequest', 1, 2.99, 'own', array[
      'bodyParametersJson', 'headerParametersJson', 'queryParametersJson'
    ], null, null),
    ('httpRequest', 1, 2.99, 'only', array['responseFormat'], '["json"]', 'the body is read by its content type'),
    ('httpRequest', 3, 999, 'literal', array[
      'method', 'sendQuery', 'specifyQuery', 'sendHeaders', 'specifyHeaders', 'sendBody', 'contentType', 'specifyBody',
      'rawContentType', 'queryParameters/parameters/*/name', 'headerParameters/parameters/*/name',
      'bodyParameters/parameters/*/name', 'options/timeout', 'options/redirect/redirect/followRedirects',
      'options/response/response/fullResponse', 'options/response/response/responseFormat'
    ], null, null),
    ('httpRequest', 3, 999, 'value', array[
      'queryParameters/parameters/*/value', 'headerParameters/parameters/*/value', 'bodyParameters/parameters/*/value'
    ], null, null),
    ('httpRequest', 3, 999, 'own', array['jsonQuery', 'jsonHeaders', 'jsonBody', 'body'], null, null),
    ('httpRequest', 3, 999, 'only', array['options/response/response/neverError'], '[false]',
      'a status of 400 and above is a failure; onError decides'),
    ('httpRequest', 1, 999, 'value', array['url'], null, null),
    ('httpRequest', 1, 999, 'only', array['authentication'], '["none"]', 'credentials are not taken over'),
    ('httpRequest', 1, 999, 'only', array['allowUnauthorizedCerts', 'options/allowUnauthorizedCerts'], '[false]',
      'certificates are always checked')
$$;

create or replace function private.n8n_parameters_of_calls()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  values
    ('splitInBatches', 3, 999, 'only', array['batchSize'], '[1]'::jsonb, 'a child run gets one item'),
    ('splitInBatches', 3, 999, 'only', array['options/reset'], '[false]', 'a loop begins once'),
    ('@loop', 0, 999, 'own', array['workflow'], null, null),
    ('wait', 1, 999, 'must', array['resume'], '["timeInterval"]'::jsonb, 'write what it waits for anew'),
    ('wait', 1, 999, 'own', array['amount', 'unit'], null, null),
    ('executeWorkflow', 1, 999, 'only', array['source'], '["database"]', 'the workflow is one of the organization'),
    ('executeWorkflow', 1, 999, 'own', array[
      'workflowId', 'workflowId/value', 'workflowId/cachedResultName'
    ], null, null),
    ('executeWorkflow', 1, 999, 'none', array[
      'workflowId/__rl', 'workflowId/mode', 'workflowId/cachedResultUrl'
    ], null, null),
    ('executeWorkflow', 1, 999, 'only', array['mode'], '["once"]', 'the child runs once, with all of the input'),
    ('executeWorkflow', 1, 999, 'literal', array['options/waitForSubWorkflow'], null, null),
    ('stopAndError', 1, 999, 'only', array['errorType'], '["errorMessage"]', 'an error is a message here'),
    ('stopAndError', 1, 999, 'value', array['errorMessage'], null, null)
$$;

create or replace function private.n8n_parameters()
  returns table (node text, since numeric, until numeric, becomes text, paths text[], allowed jsonb, message text)
  language sql
  immutable
as $$
  select p.* from private.n8n_parameters_of_document() as p
  union all
  select p.* from private.n8n_parameters_of_triggers() as p
  union all
  select p.* from private.n8n_parameters_of_branches() as p
  union all
  select p.* from private.n8n_parameters_of_set() as p
  union all
  select p.* from private.n8n_parameters_of_http() as p
  union all
  select p.* from private.n8n_parameters_of_calls() as p
$$;
comment on function private.n8n_parameters() is
  'The parameters of n8n that are known, by node type and version. One that is not listed is reported as a problem.';
