import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

/** Keeps every event in the order it was sent, for resumption. */
export const createOrderedEventStore = (): EventStore => {
  const events: { readonly streamId: string; readonly message: Parameters<EventStore['storeEvent']>[1] }[] = [];
  const indexOf = (eventId: string): number => Number(eventId.replace(/^e/, ''));
  return {
    storeEvent: async (streamId, message) => `e${events.push({ streamId, message }) - 1}`,
    getStreamIdForEventId: async (eventId) => events[indexOf(eventId)]?.streamId,
    replayEventsAfter: async (lastEventId, { send }) => {
      const last = indexOf(lastEventId);
      const streamId = events[last]?.streamId;
      if (streamId === undefined) throw new Error('unknown event id');
      for (const [index, event] of events.entries()) if (index > last && event.streamId === streamId && Object.keys(event.message).length > 0) await send(`e${index}`, event.message);
      return streamId;
    },
  };
};
