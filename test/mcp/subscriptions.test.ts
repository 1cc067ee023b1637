import { describe, expect, it } from 'vitest';
import { acknowledged, allowedSubscription, filterOf, wanted } from '../../src/mcp/subscriptions.ts';

const readme = 'file:///readme.txt';
const asked = { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: false, resourceSubscriptions: [readme, 'file:///secret'], unknown: { a: 1 } };
const subscription = allowedSubscription('main', { notifications: asked }, (action) => action.kind === 'resource' && action.uri === readme, (capability) => capability !== 'prompts');

describe('a subscription', () => {
  it('is sent on as far as its principal may have it', () => {
    expect(filterOf(subscription, asked)).toStrictEqual({ toolsListChanged: true, resourceSubscriptions: [readme] });
  });

  it('is acknowledged no further than it was sent on', () => {
    const params = { _meta: { a: 1 }, notifications: { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: [readme, 'file:///secret'], taskIds: ['t'] } };
    expect(acknowledged(subscription, params)).toStrictEqual({ _meta: { a: 1 }, notifications: { toolsListChanged: true, resourceSubscriptions: [readme], taskIds: [] } });
  });

  it.each([
    ['notifications/tools/list_changed', {}, true], ['notifications/prompts/list_changed', {}, false], ['notifications/resources/list_changed', {}, false],
    ['notifications/resources/updated', { uri: readme }, true], ['notifications/resources/updated', { uri: 'file:///secret' }, false], ['notifications/resources/updated', {}, false],
    ['notifications/tasks', { taskId: 't' }, false], ['notifications/message', {}, false], ['notifications/progress', {}, false], ['notifications/subscriptions/acknowledged', {}, true],
  ])('gets %s with %j: %s', (method, params, expected) => {
    expect(wanted(subscription, method, params)).toBe(expected);
  });

  it.each([[{}], [{ notifications: [] }], [{ notifications: { toolsListChanged: 'yes' } }], [{ notifications: { resourceSubscriptions: 'a' } }], [{ notifications: { resourceSubscriptions: [1] } }], [{ notifications: { taskIds: [{}] } }]])('cannot be read from %j', (params) => {
    expect(() => allowedSubscription('main', params, () => true, () => true)).toThrow(expect.objectContaining({ code: 'ERR_MCP_INVALID_REQUEST' }));
  });
});
