"""`contacts/` and `contact-merges/`."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.mixins import RetrieveModelMixin, UpdateModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.credentials.authentication import user_of
from accounts.idempotency import idempotent
from messaging.contacts.locks import ContactGone
from messaging.contacts.merging import merge_contacts
from messaging.contacts.proposals import accept_merge, refuse_merge
from messaging.contacts.serializers import ContactMergeSerializer, MergeSerializer, UnmergeSerializer
from messaging.contacts.unmerging import NotMerged, unmerge
from messaging.filters import ContactFilters, ContactMergeFilters
from messaging.models import Contact, ContactMerge
from messaging.people.views import PersonActions
from messaging.serializers import ContactSerializer
from whatsapp_agent.api.etags import EditableMixin, if_match
from whatsapp_agent.api.fields import refuse_fields, valid
from whatsapp_agent.api.lists import FastListMixin, read_rows
from whatsapp_agent.errors import NotFound


def _shown(merge_id: UUID) -> Response:
    return Response(next(iter(read_rows(ContactMergeSerializer, [merge_id]))))


@extend_schema_view(
    list=extend_schema(description="Contacts and groups, newest first."),
    retrieve=extend_schema(description="One contact or group, with every id it was seen under."),
    partial_update=extend_schema(description="Rename, block or allow a contact."),
)
class ContactViewSet(EditableMixin, PersonActions, RetrieveModelMixin, UpdateModelMixin, FastListMixin, GenericViewSet):
    http_method_names = ["get", "head", "patch", "post"]
    serializer_class = ContactSerializer
    filterset_class = ContactFilters
    partial_update = if_match(UpdateModelMixin.partial_update)

    def get_queryset(self) -> QuerySet[Contact]:
        contacts = Contact.objects.visible_to(self.request.user)
        return contacts.select_related("conversation").prefetch_related("aliases")

    @extend_schema(request=MergeSerializer, responses=ContactMergeSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def merge(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Merge another contact into this one, because both are one person. Everything of it follows."""
        keep = self.get_object()
        lose = self.get_queryset().filter(pk=valid(MergeSerializer, request)["contact"]).first()
        if lose is None:
            raise NotFound("There is no such contact.", field="contact")
        merged = merge_contacts(keep=keep, lose=lose, by=user_of(request))
        if merged is None:
            raise ContactGone()
        return _shown(merged.pk)

    @extend_schema(request=UnmergeSerializer, responses=ContactMergeSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def unmerge(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Take a merge into this contact back, the latest unless another is given: both are as they were before."""
        merges = ContactMerge.objects.filter(contact=self.get_object(), status=ContactMerge.Status.MERGED)
        wanted = valid(UnmergeSerializer, request).get("merge")
        merge = (merges.filter(pk=wanted) if wanted else merges.order_by("-decided_at")).first()
        if merge is None:
            raise NotMerged("There is no merge to take back.")
        unmerge(merge=merge, by=user_of(request))
        return _shown(merge.pk)


@extend_schema_view(
    list=extend_schema(description="Merges of contacts, made and proposed, newest first."),
    retrieve=extend_schema(description="One merge."),
)
class ContactMergeViewSet(RetrieveModelMixin, FastListMixin, GenericViewSet):
    serializer_class = ContactMergeSerializer
    filterset_class = ContactMergeFilters

    def get_queryset(self) -> QuerySet[ContactMerge]:
        merges = ContactMerge.objects.visible_to(self.request.user)
        return merges.select_related("contact", "decided_by", "undone_by")

    @extend_schema(request=None, responses=ContactMergeSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Merge the two contacts of a proposal."""
        refuse_fields(request)
        return _shown(accept_merge(proposal=self.get_object(), by=user_of(request)).pk)

    @extend_schema(request=None, responses=ContactMergeSerializer)
    @idempotent
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:  # noqa: ARG002
        """Say that the two contacts of a proposal are two people. They are not proposed again."""
        refuse_fields(request)
        return _shown(refuse_merge(proposal=self.get_object(), by=user_of(request)).pk)
